/**
 * What the user of this machine wants of realtime media, after BeOS's roster flags: whether pools are locked into RAM,
 * and whether audio and video run as realtime work. `MILLPOND_REALTIME` says it: `none`, `any`, or some of
 * `allocator,audio,video`; `allocator` where it is unset, or has another word. It is read once; {@link
 * setRealtimePreference} overrides it.
 */
import { fromEnvironment } from "../../util/debug.ts";
import { wholeNumber } from "../../util/validate.ts";

/** Bits of {@link realtimePreference}; the numbers are the Be Book's. */
export const RealtimeFlags = {
  /** Lock realtime pools into RAM. */
  ALLOCATOR: 1,
  /** Realtime audio. */
  AUDIO: 2,
  /** Realtime video. */
  VIDEO: 4,
  /** All of it, also what is not defined yet. */
  ANYKIND: 0xffff,
} as const;

const WORDS: Readonly<Record<string, number>> = {
  none: 0,
  allocator: RealtimeFlags.ALLOCATOR,
  audio: RealtimeFlags.AUDIO,
  video: RealtimeFlags.VIDEO,
  any: RealtimeFlags.ANYKIND,
};

/** A preference, and where it was stated. */
interface RealtimePreference {
  /** {@link RealtimeFlags}. */
  readonly flags: number;
  /** `"default"`, `"MILLPOND_REALTIME"` or `"setRealtimePreference"`. */
  readonly from: string;
  /** The value of MILLPOND_REALTIME that was not understood; undefined: there is none. */
  readonly ignored: string | undefined;
}

let preference: RealtimePreference | undefined;

/** The preference that a value of MILLPOND_REALTIME states. */
export function parseRealtimePreference(value: string | undefined): RealtimePreference {
  const words = (value ?? "").toLowerCase().split(",");
  const stated = { flags: 0, from: "MILLPOND_REALTIME", ignored: undefined };
  for (const word of words) {
    const flags = Object.hasOwn(WORDS, word.trim()) ? WORDS[word.trim()] : undefined;
    if (flags === undefined) {
      const ignored = value === undefined || value.trim() === "" ? undefined : value;
      return { flags: RealtimeFlags.ALLOCATOR, from: "default", ignored };
    }
    stated.flags |= flags;
  }
  return stated;
}

/** What holds now, and why; for reports. */
export function describeRealtimePreference(): RealtimePreference {
  preference ??= parseRealtimePreference(fromEnvironment("MILLPOND_REALTIME"));
  return preference;
}

/** The {@link RealtimeFlags} that hold now. A pool with `lock: "preference"` looks at them when it is made. */
export function realtimePreference(): number {
  return describeRealtimePreference().flags;
}

/**
 * Overrides MILLPOND_REALTIME for pools that are made from now on. Throws `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`
 * (not from 0 to 0xffff); nothing has changed then.
 */
export function setRealtimePreference(flags: number): void {
  wholeNumber("flags", flags, 0, RealtimeFlags.ANYKIND);
  preference = { flags, from: "setRealtimePreference", ignored: undefined };
}

/** The words of {@link RealtimeFlags}: `allocator, audio`; `none`. */
export function realtimeWords(flags: number): string {
  if (flags === RealtimeFlags.ANYKIND) return "any";
  const named = Object.keys(WORDS).filter((word) => word !== "none" && word !== "any" && (flags & WORDS[word]!) !== 0);
  return named.length === 0 ? "none" : named.join(", ");
}
