// Entry point of a photo's own page.

import "../shared/name_list.js";
import "./trash_photo.js";
import "./viewer_keys.js";
