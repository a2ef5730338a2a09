// The Search screen.

import { frame } from "./nav.js";

frame("search");
