// The Call screen.

import { frame } from "./nav.js";

frame("call");
