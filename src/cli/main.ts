#!/usr/bin/env node
/** The `millpond` command: its process does what the arguments name, and ends with the command's code. */
import { command, speakAsCommand } from "./command.ts";

speakAsCommand();
// Native decoders and an open pipe would keep the process alive after its work is done.
process.exit(await command(process.argv.slice(2)));
