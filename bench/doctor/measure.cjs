// What a run used: loaded into both programs of a pair. MEASURE names the file that it writes.
const { GCProfiler } = require("node:v8");
const { isMainThread } = require("node:worker_threads");
const { writeFileSync } = require("node:fs");

if (isMainThread) {
  const began = process.hrtime.bigint();
  const profiler = new GCProfiler();
  profiler.start();
  process.on("exit", () => {
    const { userCPUTime, systemCPUTime, maxRSS, minorPageFault } = process.resourceUsage();
    const collections = profiler.stop().statistics;
    const count = (type) => collections.filter(({ gcType }) => gcType === type).length;
    writeFileSync(
      process.env.MEASURE,
      JSON.stringify({
        wall: Number(process.hrtime.bigint() - began) / 1e6,
        cpu: (userCPUTime + systemCPUTime) / 1000,
        rss: maxRSS / 1024,
        faults: minorPageFault,
        majors: count("MarkSweepCompact"),
        minors: count("Scavenge"),
        gc: collections.reduce((sum, { cost }) => sum + cost / 1000, 0),
      }),
    );
  });
}
