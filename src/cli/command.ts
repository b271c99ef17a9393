/**
 * The `millpond` command as a function: does what its arguments name, and turns every end into one paragraph and a
 * code. `main.ts` gives it a process of its own.
 */
import { quietDecoders } from "../adapters/mediabunny/load.ts";
import { DOCTOR_HELP, MAIN_HELP, MILLPOND_VERSION, parseCommand, RUN_HELP, TOP_HELP } from "./args.ts";
import { ExitCode, exitCodeOf, explain, Failure, print } from "./exit.ts";
import { elementList, runText } from "./pipeline-text.ts";
import { run } from "./run.ts";
import { complain } from "./terminal.ts";

/** Answers {@link ExitCode}, or the exit code of the program that was examined. */
export async function command(argv: readonly string[]): Promise<number> {
  try {
    const command = parseCommand(argv);
    switch (command.kind) {
      case "help":
        await print({ main: MAIN_HELP, run: RUN_HELP, top: TOP_HELP, doctor: DOCTOR_HELP }[command.topic]);
        return ExitCode.OK;
      case "version":
        await print(`${MILLPOND_VERSION}\n`);
        return ExitCode.OK;
      case "doctor": {
        // Loaded on demand: the others need no system calls.
        const { diagnose, printable } = await import("./doctor.ts");
        const diagnosis = diagnose();
        await print(command.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : printable(diagnosis));
        return ExitCode.OK;
      }
      case "program": {
        const { examine } = await import("./doctor/program.ts");
        return await examine(command.options);
      }
      case "top": {
        const { top } = await import("./top.ts");
        return await top(command.options);
      }
      case "run":
        return await run(command.options);
      case "text":
        return await runText(command.options);
      case "elements":
        await print(elementList());
        return ExitCode.OK;
    }
  } catch (error) {
    complain(explain(error), error instanceof Failure ? error.excerpt : undefined);
    if (process.env.MILLPOND_DEBUG === "1" && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return exitCodeOf(error);
  }
}

/** Has what the process says besides, by decoders, warnings and uncaught errors, said in the command's way. */
export function speakAsCommand(): void {
  quietDecoders();
  process.on("unhandledRejection", (error) => {
    complain(explain(error));
    process.exit(exitCodeOf(error));
  });
  // What this package warns of is said in the command's way; anything else as Node does it.
  const listeners = process.listeners("warning");
  process.removeAllListeners("warning");
  process.on("warning", (warning) => {
    const { code = "" } = warning as NodeJS.ErrnoException;
    if (code.startsWith("MILLPOND_")) complain(`warning: ${warning.message}`);
    else for (const listener of listeners) listener(warning);
  });
  // When the reader of standard error has gone, the process still has to end without a stack.
  process.stderr.on("error", () => {});
}
