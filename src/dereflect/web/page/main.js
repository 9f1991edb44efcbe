// The page as `dereflect serve` gives it.

import { engine } from "./service.js";
import { open } from "./workbench.js";

open(engine);
