/**
 * Pipelines as text, in the style that GStreamer's users know:
 *
 * ```
 * file clip.mp4 ! decode ! tee name=t ! scale width=320 ! null   t. ! queue max=8 ! null
 * ```
 *
 * Elements are joined by `!`; a word like `width=320` sets a property, other words are the element's own arguments.
 * `name=t` names an element, and `t.` refers to it, at the beginning of a chain or at its end. Quotes keep spaces. An
 * error points at the word that it is about.
 */

import { isMillpondError, MillpondError, plainMessage } from "../util/errors.ts";
import { instance, listOf, nearest, oneOf, required, word, wrongType } from "../util/validate.ts";
import { Element } from "./base/element.ts";
import { Pipeline, type PipelineOptions } from "./pipeline.ts";

/** One word of the text, and where it stands. */
export interface Word {
  /** The word, without quotes. */
  readonly text: string;
  /** Its first character in the text, from 0. */
  readonly at: number;
  /** Characters that it takes in the text. */
  readonly length: number;
}

/** What a property or an argument may be. */
export type PropertyKind = "string" | "whole" | "number" | "boolean" | "rate" | "size";

/** One property of an element that can be written in text. */
export interface PropertySpec {
  /** What it may be. */
  readonly kind: PropertyKind;
  /** A few words for the help. */
  readonly help: string;
  /** Least value of a number. */
  readonly min?: number;
  /** Greatest value of a number. */
  readonly max?: number;
  /** The only values that a text may have. */
  readonly oneOf?: readonly string[];
}

/** An element that can be written in text. */
export interface ElementFactory {
  /** The word for it. */
  readonly word: string;
  /** One line for the help. */
  readonly help: string;
  /** Properties by name; `name` is every element's. */
  readonly properties?: Readonly<Record<string, PropertySpec>>;
  /** Names of the properties that may stand without `name=`, in order. */
  readonly positional?: readonly string[];
  /** Properties that must be there. */
  readonly required?: readonly string[];
  /** Makes it. What it throws is shown at the element's word. */
  create(properties: Properties, name: string | undefined): Element;
}

/** Values by name, of the kinds that the specification says. */
export type Properties = Readonly<
  Record<string, string | number | boolean | { num: number; den: number } | { width: number; height: number }>
>;

/** A pipeline made from text. */
export interface ParsedPipeline {
  /** Ready to run. */
  readonly pipeline: Pipeline;
  /** The word of each element, by its name. */
  readonly words: ReadonlyMap<string, Word>;
  /** The same error, pointing at the word of the element it happened in; the error as it is when that is not known. */
  pointAt(error: unknown): unknown;
}

/** One element as written. */
interface Node {
  readonly word: Word;
  readonly args: readonly Word[];
}

/** A chain: its ends may be references (`t.`) to elements of other chains. */
type Link = { readonly kind: "node"; readonly node: Node } | { readonly kind: "reference"; readonly word: Word };

/** An error that points at a word. `details` has `at`, `length` and `excerpt`, two lines that show the place. */
function textError(text: string, word: Word, message: string, cause?: unknown): MillpondError {
  const excerpt = excerptOf(text, word);
  return new MillpondError(
    "ERR_INVALID_ARG_VALUE",
    `${message}\n${excerpt}\n`,
    { reason: message, at: word.at, length: word.length, excerpt },
    cause === undefined ? undefined : { cause },
  );
}

/** Characters of a text that an error shows: a line of a terminal, less its indent. */
const EXCERPT_WIDTH = 76;

/** The line with the word and a line that points at it; long texts are cut around it. */
function excerptOf(text: string, { at, length }: Word): string {
  const flat = text.replaceAll(/[\n\t\r]/g, " ");
  const from = at + length <= EXCERPT_WIDTH ? 0 : Math.max(0, at - Math.floor(EXCERPT_WIDTH / 3));
  const shown = flat.slice(from, from + EXCERPT_WIDTH);
  const lead = from > 0 ? "..." : "";
  const tail = from + EXCERPT_WIDTH < flat.length ? "..." : "";
  const marks = "^".repeat(Math.max(1, Math.min(length, EXCERPT_WIDTH - (at - from))));
  return `  ${lead}${shown}${tail}\n  ${" ".repeat(lead.length + at - from)}${marks}`;
}

/** Splits a text into words. Throws `ERR_INVALID_ARG_VALUE` for a quote that is not closed. */
export function splitWords(text: string): Word[] {
  const words: Word[] = [];
  let i = 0;
  while (i < text.length) {
    if (/\s/.test(text[i]!)) {
      i++;
      continue;
    }
    const at = i;
    let word = "";
    while (i < text.length && !/\s/.test(text[i]!)) {
      const quote = text[i]!;
      if (quote !== '"' && quote !== "'") {
        word += text[i++];
        continue;
      }
      const end = text.indexOf(quote, i + 1);
      if (end === -1) throw textError(text, { text: word, at: i, length: 1 }, "this quote is not closed");
      word += text.slice(i + 1, end);
      i = end + 1;
    }
    words.push({ text: word, at, length: i - at });
  }
  return words;
}

/**
 * Makes a pipeline of a text. Throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, and what elements and links
 * throw, each with the place: see {@link textError}.
 */
export function parsePipeline(
  text: string,
  factories: readonly ElementFactory[],
  options: PipelineOptions = {},
): ParsedPipeline {
  const known = checkFactories("factories", factories);
  const chains = readChains(text, splitWords(word("text", text)));
  const pipeline = new Pipeline(options);
  const words = new Map<string, Word>();
  const named = new Map<string, Element>();
  const elements = new Map<Node, Element>();
  const counts = new Map<string, number>();
  for (const link of chains.flat()) {
    if (link.kind === "reference") continue;
    const element = makeElement(text, link.node, known, counts);
    const before = words.get(element.name);
    if (before !== undefined)
      throw textError(text, link.node.word, `there is an element named "${element.name}" already`);
    elements.set(link.node, element);
    named.set(element.name, element);
    words.set(element.name, link.node.word);
    pipeline.add(element);
  }
  const find = (link: Link): Element => {
    if (link.kind === "node") return elements.get(link.node)!;
    const name = link.word.text.slice(0, -1);
    const found = named.get(name);
    if (found !== undefined) return found;
    throw textError(
      text,
      link.word,
      `no element has the name "${name}"; add name=${name} to the element that is meant`,
    );
  };
  for (const chain of chains) {
    for (let i = 1; i < chain.length; i++) {
      const [from, to] = [find(chain[i - 1]!), find(chain[i]!)];
      const at = chain[i]!;
      try {
        pipeline.link(from, to);
      } catch (error) {
        throw textError(text, at.kind === "node" ? at.node.word : at.word, messageInText(error), error);
      }
    }
  }
  return {
    pipeline,
    words,
    pointAt(error) {
      const name = namedIn(error, words) ?? pipeline.failedIn;
      const word = name === undefined ? undefined : words.get(name);
      if (word === undefined || !(error instanceof Error)) return error;
      return textError(text, word, messageInText(error), error);
    },
  };
}

const PROPERTY_KINDS: readonly PropertyKind[] = ["string", "whole", "number", "boolean", "rate", "size"];

/** Checks the words, before any of them is looked for: what is wrong with one is wrong with every text. */
function checkFactories(name: string, factories: readonly ElementFactory[]): readonly ElementFactory[] {
  const list = listOf(name, "a list of ElementFactory", factories);
  for (const [i, factory] of list.entries()) checkFactory(`${name}[${i}]`, factory);
  return list;
}

function checkFactory(name: string, factory: ElementFactory): void {
  if (factory === null || typeof factory !== "object") throw wrongType(name, "an ElementFactory", factory);
  word(`${name}.word`, factory.word);
  word(`${name}.help`, factory.help);
  required(`${name}.create`, factory.create);
  const { properties, positional, required: needed } = factory;
  if (positional !== undefined) checkWords(`${name}.positional`, positional);
  if (needed !== undefined) checkWords(`${name}.required`, needed);
  if (properties === undefined) return;
  if (properties === null || typeof properties !== "object")
    throw wrongType(`${name}.properties`, "an object of PropertySpec", properties);
  for (const [key, property] of Object.entries(properties)) {
    const place = `${name}.properties.${key}`;
    if (property === null || typeof property !== "object") throw wrongType(place, "a PropertySpec", property);
    oneOf(`${place}.kind`, property.kind, PROPERTY_KINDS);
    if (property.oneOf !== undefined) checkWords(`${place}.oneOf`, property.oneOf);
  }
}

function checkWords(name: string, words: readonly string[]): void {
  for (const [i, one] of listOf(name, "a list of strings", words).entries()) word(`${name}[${i}]`, one);
}

/** The element that an error's details speak of, by its pad (`scale.out`). */
function namedIn(error: unknown, words: ReadonlyMap<string, Word>): string | undefined {
  if (!isMillpondError(error)) return undefined;
  const { pad, to, from } = error.details ?? {};
  for (const one of [pad, to, from]) {
    const name = typeof one === "string" ? one.slice(0, one.lastIndexOf(".")) : "";
    if (words.has(name)) return name;
  }
  return undefined;
}

/** In a text there are properties, and no options with paths to them. */
function messageInText(error: unknown): string {
  return plainMessage(error).replaceAll(/\boptions\.(\w+)/g, "$1");
}

function readChains(text: string, words: readonly Word[]): Link[][] {
  if (words.length === 0) throw textError(text, { text: "", at: 0, length: 1 }, "the pipeline is empty");
  const chains: Link[][] = [];
  let chain: Link[] = [];
  let joined = false;
  let args: Word[] | undefined;
  const end = (): void => {
    const [only] = chain;
    if (chain.length === 1 && only?.kind === "reference") {
      throw textError(text, only.word, `nothing is linked to "${only.word.text}": write "!" before or after it`);
    }
    if (chain.length > 0) chains.push(chain);
    chain = [];
  };
  for (const word of words) {
    if (word.text === "!") {
      if (chain.length === 0 || joined) throw textError(text, word, 'there is nothing in front of this "!"');
      joined = true;
      args = undefined;
    } else if (isReference(word)) {
      if (!joined) end();
      chain.push({ kind: "reference", word });
      joined = false;
      args = undefined;
    } else if (joined || chain.length === 0) {
      args = [];
      chain.push({ kind: "node", node: { word, args } });
      joined = false;
    } else if (args === undefined) {
      // After a reference at the end of a chain a new one begins.
      end();
      args = [];
      chain.push({ kind: "node", node: { word, args } });
    } else args.push(word);
  }
  const last = words.at(-1)!;
  if (joined) throw textError(text, last, 'there is nothing behind this "!"');
  end();
  return chains;
}

function isReference({ text }: Word): boolean {
  return /^[A-Za-z][\w-]*\.$/.test(text);
}

function makeElement(
  text: string,
  { word, args }: Node,
  factories: readonly ElementFactory[],
  counts: Map<string, number>,
): Element {
  const factory = factories.find((one) => one.word === word.text);
  if (factory === undefined) {
    const near = nearest(
      word.text,
      factories.map((one) => one.word),
    );
    const hint =
      near === undefined ? `there are ${factories.map((one) => one.word).join(", ")}` : `did you mean "${near}"?`;
    throw textError(text, word, `there is no element "${word.text}"; ${hint}`);
  }
  const values: Record<string, Properties[string]> = {};
  let name: string | undefined;
  let position = 0;
  for (const arg of args) {
    const [, key, value = ""] = /^([A-Za-z][\w-]*)=(.*)$/s.exec(arg.text) ?? [];
    if (key === "name") {
      if (name !== undefined)
        throw textError(text, arg, `this "${factory.word}" is given two names: "${name}" and "${value}"`);
      if (!/^[A-Za-z][\w-]*$/.test(value))
        throw textError(text, arg, "a name begins with a letter, and has letters, digits, - and _");
      name = value;
      continue;
    }
    const property = key ?? factory.positional?.[position++];
    if (property === undefined) throw textError(text, arg, tooMuch(factory, arg));
    const known = Object.hasOwn(factory.properties ?? {}, property) ? factory.properties![property] : undefined;
    if (known === undefined) throw textError(text, arg, unknownProperty(factory, property));
    if (Object.hasOwn(values, property)) throw textError(text, arg, `${property} is given twice`);
    values[property] = readValue(text, arg, property, key === undefined ? arg.text : value, known);
  }
  for (const property of factory.required ?? []) {
    if (values[property] === undefined)
      throw textError(text, word, `"${factory.word}" needs ${property}: ${usageOf(factory)}`);
  }
  const count = (counts.get(factory.word) ?? 0) + (name === undefined ? 1 : 0);
  counts.set(factory.word, count);
  try {
    const element = factory.create(values, name ?? (count === 1 ? factory.word : `${factory.word}${count}`));
    return instance(`what create() of "${factory.word}" returned`, "an Element", Element, element);
  } catch (error) {
    throw textError(text, word, messageInText(error), error);
  }
}

function tooMuch(factory: ElementFactory, arg: Word): string {
  const near = arg.text.includes("=") ? "" : '; is there a "!" missing in front of it?';
  return `"${factory.word}" takes no such argument${near} (${usageOf(factory)})`;
}

function unknownProperty(factory: ElementFactory, property: string): string {
  const known = Object.keys(factory.properties ?? {});
  const near = nearest(property, [...known, "name"]);
  if (near !== undefined) return `"${factory.word}" has no property "${property}"; did you mean "${near}"?`;
  return `"${factory.word}" has no property "${property}"${known.length === 0 ? "" : `; it has ${known.join(", ")}`}`;
}

/** `scale [width=] [height=]`: how an element is written. */
export function usageOf(factory: ElementFactory): string {
  const parts = Object.keys(factory.properties ?? {}).map((key) => {
    const isFree = factory.positional?.includes(key) === true;
    const text = isFree ? key.toUpperCase() : `${key}=`;
    return factory.required?.includes(key) === true ? text : `[${text}]`;
  });
  return [factory.word, ...parts].join(" ");
}

function readValue(text: string, word: Word, name: string, value: string, property: PropertySpec): Properties[string] {
  const refuse = (expected: string): MillpondError => textError(text, word, `${name} is ${expected}, not "${value}"`);
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = property;
  const numberOf = (kind: string, shape: RegExp): number => {
    const number = Number(value);
    if (!shape.test(value) || !Number.isFinite(number)) throw refuse(kind);
    if (number < min || number > max) throw refuse(`${kind}${rangeText(min, max)}`);
    return number;
  };
  switch (property.kind) {
    case "string":
      if (value === "") throw textError(text, word, `${name} needs a value`);
      if (property.oneOf !== undefined && !property.oneOf.includes(value)) {
        const near = nearest(value, property.oneOf);
        const hint = near === undefined ? "" : `; did you mean "${near}"?`;
        throw textError(text, word, `${name} must be one of ${property.oneOf.join(", ")}, not "${value}"${hint}`);
      }
      return value;
    case "whole":
      return numberOf("a whole number", /^\d{1,15}$/);
    case "number":
      return numberOf("a number", /^\S+$/);
    case "boolean":
      if (!/^(true|false|yes|no|1|0)$/.test(value)) throw refuse("true or false");
      return /^(true|yes|1)$/.test(value);
    case "rate": {
      const match = /^(\d{1,9})(?:\/(\d{1,9}))?$/.exec(value);
      const [num, den] = [Number(match?.[1]), Number(match?.[2] ?? 1)];
      if (!(num > 0 && den > 0)) throw refuse("a rate like 25 or 30000/1001");
      return { num, den };
    }
    case "size": {
      const match = /^(\d{1,5})[xX](\d{1,5})$/.exec(value);
      const [width, height] = [Number(match?.[1]), Number(match?.[2])];
      if (!(width > 0 && height > 0)) throw refuse("width x height like 1920x1080");
      return { width, height };
    }
  }
}

/** ` from 1 to 400`; nothing where there are no bounds. */
function rangeText(min: number, max: number): string {
  if (max !== Number.POSITIVE_INFINITY) return ` from ${Math.max(min, 0)} to ${max}`;
  return min === Number.NEGATIVE_INFINITY ? "" : ` of ${min} or more`;
}
