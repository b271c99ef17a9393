/** millpond/testing: what the tests of a program that uses pools need. */
export { FakeClock } from "./util/clock.ts";
