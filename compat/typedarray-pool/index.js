"use strict";

// What npm links in the place of typedarray-pool: "overrides": { "typedarray-pool": "file:./node_modules/millpond/compat/typedarray-pool" }
module.exports = require("millpond/compat/typedarray-pool");
