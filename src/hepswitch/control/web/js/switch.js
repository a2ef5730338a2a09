// The Switch screen.

import { frame } from "./nav.js";

frame("switch");
