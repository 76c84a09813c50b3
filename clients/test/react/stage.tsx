// A page for components, with a world of its own behind the connection.
import { act, type ReactNode, StrictMode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { vi } from 'vitest';
import { World } from '../unit/world.js';

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

let pages = 0;

export class Stage {
  readonly world = new World();
  /** An address of its own: the page's connections are shared by address. */
  readonly url = `ws://node${(pages += 1)}/api/ws`;
  readonly host = document.body.appendChild(document.createElement('div'));
  readonly #root: Root = createRoot(this.host);

  constructor() {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  }

  /** Options for a connection of the page itself. */
  get options() {
    return { url: this.url, auth: 'token', WebSocket: this.world.WebSocket };
  }

  async show(page: ReactNode): Promise<void> {
    await act(async () => this.#root.render(<StrictMode>{page}</StrictMode>));
    await this.settle();
  }

  /** Lets everything happen that is to happen within so many ms. */
  async settle(ms = 20): Promise<void> {
    await act(async () => {
      await this.world.settle();
      await vi.advanceTimersByTimeAsync(ms);
    });
  }

  /** The node does something. */
  async node(does: () => unknown, ms?: number): Promise<void> {
    await act(async () => void does());
    await this.settle(ms);
  }

  /** The node accepts the newest socket and confirms what is subscribed to. */
  async accept(welcome: object = {}): Promise<void> {
    await this.node(() => this.world.accept(welcome));
    await this.confirm();
  }

  async confirm(data: object = {}): Promise<void> {
    const { socket } = this.world;
    await this.node(() => {
      for (const command of socket.all('subscribe')) socket.subscribed(data, command);
    });
  }

  get text(): string {
    return this.host.textContent ?? '';
  }

  find(selector: string): HTMLElement {
    const found = this.host.querySelector<HTMLElement>(selector);
    if (!found) throw new Error(`no ${selector} in ${this.host.innerHTML}`);
    return found;
  }

  async end(): Promise<void> {
    await act(async () => this.#root.unmount());
    await this.settle(2_000);
    vi.useRealTimers();
    this.host.remove();
  }
}
