/** One thing that a repository check found wrong, at a place an editor can jump to. */
export interface Finding {
  /** Path relative to the root that was checked, with forward slashes. */
  readonly file: string;
  /** Line number from 1, or 0 where the finding is about the whole file. */
  readonly line: number;
  readonly message: string;
}

/** `file:line: message`, the form that terminals and editors make clickable. */
export function formatFinding(finding: Finding): string {
  const place = finding.line > 0 ? `${finding.file}:${finding.line}` : finding.file;
  return `${place}: ${finding.message}`;
}

/**
 * Takes away what is known and still to be mended, and says so: a warning for each, and one for what the list names in
 * vain.
 *
 * @param pending words of the findings' text, one for each that is known
 */
export function warnOfPending(check: string, findings: readonly Finding[], pending: readonly string[]): Finding[] {
  const texts = findings.map(formatFinding);
  const known = (text: string): boolean => pending.some((word) => text.includes(word));
  for (const text of texts.filter(known)) console.warn(`${check}: pending: ${text}`);
  for (const word of pending) {
    if (!texts.some((text) => text.includes(word))) console.warn(`${check}: "${word}" is mended: take it off the list`);
  }
  return findings.filter((_, index) => !known(texts[index]!));
}

/** Prints the findings, or the one line that says all is well, and leaves the exit code to match. */
export function reportFindings(check: string, findings: readonly Finding[], whenClean: string): void {
  if (findings.length === 0) {
    console.log(`${check}: ${whenClean}`);
    return;
  }
  for (const finding of findings) console.error(formatFinding(finding));
  console.error(`${check}: ${findings.length} found`);
  process.exitCode = 1;
}
