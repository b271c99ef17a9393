// Shares its realm with other files: nothing that it changes outlives it.
/** Which signals of the doctor the program gets by itself, from what the system says of a process and its terminal. */
import { describe, expect, it } from "vitest";
import { isSentToAll, standingIn } from "../../src/cli/doctor/signals.ts";

const standing = (pid: number, group: number, session: number, front: number) =>
  standingIn(`${pid} (a) b (c) S 1 ${group} ${session} 34816 ${front} 4194304 1 2 3`);

describe("a terminal's signal", () => {
  it("is sent to the processes in front of the terminal, whatever standard input is, and is not passed on", () => {
    const inFront = standing(50, 50, 10, 50);
    expect(inFront).toEqual({ isInFront: true, hasTerminal: true, isLeader: false });
    expect(isSentToAll(inFront, inFront)).toBe(true);
  });

  it("is passed on behind another job and without a terminal", () => {
    const inFront = standing(50, 50, 10, 50);
    const behind = standing(50, 50, 10, 60);
    const without = standing(50, 50, 10, -1);
    expect([isSentToAll(inFront, behind), isSentToAll(behind, behind), isSentToAll(without, without)]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it("is passed on when the terminal has gone and told the first process of its session alone", () => {
    expect(isSentToAll(standing(50, 50, 50, 50), standing(50, 50, 50, -1))).toBe(false);
    expect(isSentToAll(standing(50, 50, 10, 50), standing(50, 50, 10, -1))).toBe(true);
  });
});
