/**
 * The audio thread: plays pooled blocks as they come. Nothing is allocated in process(): leases are integers, and the view of
 * each slot was made before. In a bundle, the import is from "millpond/shared".
 */
import { LeaseRing, SharedPool } from "../../dist/shared.js";

class PooledPlayer extends AudioWorkletProcessor {
  constructor({ processorOptions: { handle, ring, counters, careless } }) {
    super();
    this.pool = SharedPool.attach(handle);
    this.ring = LeaseRing.attach(this.pool, ring, "pop");
    this.views = Array.from(
      { length: this.pool.count },
      (_, index) => new Float32Array(this.pool.memory, this.pool.slotOffset(index), this.pool.size / 4),
    );
    /** Blocks played, blocks that were not there in time. */
    this.counters = new Int32Array(counters);
    /** For the test: makes garbage on purpose, so that its counting of collections is seen to work. */
    this.careless = careless;
    this.litter = undefined;
  }

  process(_inputs, outputs) {
    const id = this.ring.tryPop();
    if (id < 0) {
      this.counters[1]++;
      return true;
    }
    outputs[0][0].set(this.views[this.pool.indexOf(id)]);
    this.pool.releaseId(id);
    this.counters[0]++;
    if (this.careless) this.litter = Array.from({ length: 1000 }, (_, i) => ({ i }));
    return true;
  }
}

registerProcessor("pooled-player", PooledPlayer);
