import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Two-core machines run the suites; a model-based suite may take half a minute there.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: "forks",
    reporters: process.env.CI === "true" ? ["default", "./test/closing-line.ts"] : ["default"],
  },
});

export default config;
