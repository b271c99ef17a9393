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
