/**
 * A process that runs the command many times, one run after the other: a run in it costs a tenth of the processor time
 * of a process of its own. It is told each run by its parent, and ends its share of standard output and of standard
 * error with the same mark; see command-host.ts.
 */
import { command, speakAsCommand } from "../../src/cli/command.ts";
import type { Told } from "./command-host.ts";

speakAsCommand();
process.on("message", async ({ args, folder, env, mark }: Told) => {
  process.chdir(folder);
  const before = { ...process.env };
  Object.assign(process.env, env);
  const code = await command(args);
  for (const name of Object.keys(env)) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  for (const stream of [process.stdout, process.stderr]) await new Promise((written) => stream.write(mark, written));
  process.send!(code);
});
// Decoders would keep it alive when its parent has gone.
process.on("disconnect", () => process.exit());
