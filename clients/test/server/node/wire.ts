// Stands between the emitter and a node, and cuts where it is told to.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** `lost`: the node took the request, its answer does not come through; `half`: half of it does. */
export type Cut = 'none' | 'before' | 'lost' | 'half' | 'silent';

export class Cutter {
  readonly #dir = mkdtempSync(join(tmpdir(), 'omnicast-'));
  readonly path = join(this.#dir, 'control.sock');
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  connections = 0;
  /** How many requests it let through without their answer. */
  cuts = 0;

  private constructor(
    readonly node: string,
    /** What to do to the next request. */
    public next: () => Cut,
  ) {
    this.#server = createServer((near) => this.#join(near));
  }

  static async start(node: string, next: () => Cut): Promise<Cutter> {
    const cutter = new Cutter(node, next);
    await new Promise<void>((resolve) => cutter.#server.listen(cutter.path, resolve));
    return cutter;
  }

  #join(near: Socket): void {
    this.connections += 1;
    const far = connect(this.node);
    let cut: Cut = 'none';
    let asked = false;
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        (socket === near ? far : near).destroy();
      });
    }
    near.on('data', (chunk) => {
      if (!asked) cut = this.next();
      asked = true;
      if (cut === 'before') near.destroy();
      else far.write(chunk);
    });
    far.on('data', (chunk) => {
      // The node has published by now.
      asked = false;
      if (cut === 'none') near.write(chunk);
      else this.cuts += 1;
      if (cut === 'lost') near.destroy();
      if (cut === 'half') near.write(chunk.subarray(0, chunk.length >> 1), () => near.destroy());
    });
  }

  async end(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
