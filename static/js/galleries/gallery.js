// Entry point of a gallery's page: the grid, the selection, and the viewer over it.

import "../shared/name_list.js";
import "../photos/trash_photo.js";
import "../photos/viewer_keys.js";
import { attach } from "../photos/viewer_page.js";
import { grid } from "./grid.js";
import { set } from "./photo_selection.js";
import "./selection_bar.js";
import "./tile_polling.js";

attach({ grid, forget: (pk) => set([pk], false) });
