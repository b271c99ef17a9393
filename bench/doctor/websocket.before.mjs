// Frames over a WebSocket, a new buffer each.
import { serve } from "./websocket.mjs";

await serve(async (socket, n) => {
  const frame = Buffer.alloc(2 ** 20);
  frame.fill(n); // stands for a decoder
  await new Promise((resolve) => socket.send(frame, { binary: true, compress: false }, resolve));
});
