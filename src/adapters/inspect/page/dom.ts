/**
 * Small helpers for the document. Texts become text nodes; nothing is parsed as markup; what is equal is not written.
 */
import { cut, cutFront, firstLine, shortPlace, visible } from "./text.ts";

/** What an element is made with: attributes, and children that are elements or texts. */
type Child = Node | string;

/** An element with attributes and children. */
export function el<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Sets a text, when it is another one. */
export function setText(element: Element, text: string): void {
  const { firstChild } = element;
  if (firstChild instanceof Text && firstChild === element.lastChild) {
    if (firstChild.data !== text) firstChild.data = text;
  } else if (element.textContent !== text || firstChild !== null) element.textContent = text;
}

/** Sets or (undefined) removes an attribute, when it changes. */
export function setAttribute(element: Element, name: string, value: string | undefined): void {
  if (value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Sets a style property, when it changes. */
export function setStyle(element: HTMLElement, name: string, value: string): void {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}

/** Shows or hides an element. */
export function show(element: HTMLElement, isShown: boolean): void {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** A name or tag of the program: escaped, cut to `most`, with all of it as the title when it is cut. */
export function setName(element: HTMLElement, value: string, most: number): void {
  const text = visible(value);
  const short = cut(text, most);
  setText(element, short);
  setAttribute(element, "title", short === text ? undefined : text);
}

/** As {@link setName}, for places in files: their end says more. */
export function setPlace(element: HTMLElement, value: string, most: number): void {
  const text = visible(value);
  const short = cutFront(shortPlace(firstLine(value)), most);
  setText(element, short);
  setAttribute(element, "title", short === text ? undefined : text);
}

/**
 * Children of a list, one for each item in their order: those that are there stay, and are moved only when the order
 * changed.
 */
export class KeyedList<T, V extends { readonly element: HTMLElement }> {
  /** The children, by key, in order. */
  readonly views: Map<string, V> = new Map();
  readonly #parent: HTMLElement;
  readonly #make: (item: T) => V;

  /** A list in `parent`, which has no other children. */
  constructor(parent: HTMLElement, make: (item: T) => V) {
    this.#parent = parent;
    this.#make = make;
  }

  /** Makes the children those of these items. */
  update(items: readonly T[], keyOf: (item: T, index: number) => string, update: (view: V, item: T) => void): void {
    const gone = new Set(this.views.keys());
    const order: V[] = [];
    for (const [index, item] of items.entries()) {
      const key = keyOf(item, index);
      let view = this.views.get(key);
      if (view === undefined) {
        view = this.#make(item);
        this.views.set(key, view);
      }
      gone.delete(key);
      order.push(view);
      update(view, item);
    }
    for (const key of gone) {
      this.views.get(key)!.element.remove();
      this.views.delete(key);
    }
    let next = this.#parent.firstElementChild;
    for (const { element } of order) {
      if (element === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(element, next);
    }
  }
}
