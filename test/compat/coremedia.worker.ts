/** The far end of the simple queue's tests: enqueues numbers in order, or takes numbers out and sends what it saw. */
import { parentPort, workerData } from "node:worker_threads";
import {
  CMSimpleQueueAttach,
  CMSimpleQueueDequeue,
  CMSimpleQueueEnqueue,
  CMSimpleQueueGetCapacity,
  CMSimpleQueueGetCount,
  type CMSimpleQueueHandle,
} from "../../src/compat/coremedia.ts";

const { numbers, echoes, total } = workerData as {
  numbers: CMSimpleQueueHandle;
  echoes: CMSimpleQueueHandle;
  total: number;
};
const incoming = CMSimpleQueueAttach(numbers);
const outgoing = CMSimpleQueueAttach(echoes);
const capacity = CMSimpleQueueGetCapacity(outgoing);
let full = 0;
for (let n = 0; n < total; ) {
  const element = CMSimpleQueueDequeue(incoming);
  if (element === null) continue;
  while (CMSimpleQueueGetCount(outgoing) === capacity) full++;
  CMSimpleQueueEnqueue(outgoing, (element as number) * 2);
  n++;
}
parentPort?.postMessage(full);
