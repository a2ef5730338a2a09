// The Live screen.

import { frame } from "./nav.js";

frame("live");
