// The same from the slots of a pool, as the doctor says.
import { BufferPool } from "../../dist/index.js";
import { serve } from "./websocket.mjs";

const pool = BufferPool.create({ name: "websocket", size: 1_048_576, max: 4 });
await serve(async (socket, n) => {
  const frame = await pool.acquire();
  frame.bytes.fill(n);
  await new Promise((resolve) => socket.send(frame.bytes, { binary: true, compress: false }, resolve));
  frame.release();
});
