/**
 * The promise of an emit. Nobody has to wait for it: a failure that nobody listens to is told to the emitter's
 * `onError`, and does not end the process as that of another promise would.
 */
export class Emitted<T> implements Promise<T> {
  readonly [Symbol.toStringTag] = 'Emitted';
  readonly #promise: Promise<T>;
  #heard = false;

  constructor(promise: Promise<T>, unheard: (failure: unknown) => void) {
    this.#promise = promise;
    promise.catch((failure: unknown) => {
      // Whoever waits for it in the same turn has not come too late.
      setImmediate(() => this.#heard || unheard(failure));
    });
  }

  then<A = T, B = never>(
    done?: ((value: T) => A | PromiseLike<A>) | null,
    failed?: ((failure: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#heard = true;
    return this.#promise.then(done, failed);
  }

  catch<B = never>(failed?: ((failure: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.then(undefined, failed);
  }

  finally(done?: (() => void) | null): Promise<T> {
    this.#heard = true;
    return this.#promise.finally(done);
  }
}
