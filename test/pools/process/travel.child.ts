/** Reserves a membership of the pool at descriptor 3, says by which handle, and stays until it is killed. */
import { ProcessPool } from "../../../src/native.ts";

const pool = ProcessPool.attach(3);
const { memory: _, ...handle } = pool.reserve();
console.log(JSON.stringify(handle));
setInterval(() => pool, 1e6);
