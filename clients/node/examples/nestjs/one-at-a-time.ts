/**
 * A decorator for NestJS: of all instances of the application, one runs the method at a time.
 *
 *     @Injectable()
 *     class Reports {
 *       @Cron("0 3 * * *")
 *       @OneAtATime("reports", { linger: 1000 })
 *       async nightly() { … }
 *     }
 */
import { Inject, type Provider } from "@nestjs/common";
import { type Client, connect, type Lock, type LockOptions } from "lockbroker";

/** The token by which Nest injects the client. */
const CLIENT = Symbol("lockbroker");

/** Provides the client; Nest closes it with the application, where `enableShutdownHooks` is on. */
export function provideLockbroker(...args: Parameters<typeof connect>): Provider {
  const useFactory = () => {
    const client = connect(...args);
    return Object.assign(client, { onApplicationShutdown: () => client.close() });
  };
  return { provide: CLIENT, useFactory };
}

type Method<A extends unknown[], R> = (...args: [...A, lock?: Lock]) => Promise<R>;

/** Makes a method run only while it holds the lock. It gets the lock as its last argument. Without the lock it does nothing. */
export function OneAtATime(name: string, options: LockOptions = {}) {
  return <A extends unknown[], R>(
    target: object,
    _key: string | symbol,
    descriptor: TypedPropertyDescriptor<Method<A, R>>,
  ) => {
    const work = descriptor.value as Method<A, R>;
    Inject(CLIENT)(target, "lockbroker");
    descriptor.value = async function (this: { lockbroker: Client }, ...args) {
      const lock = await this.lockbroker.tryLock(name, options);
      if (lock === null) return undefined as R;
      await using held = lock;
      return await work.apply(this, [...(args as unknown as A), held]);
    };
    return descriptor;
  };
}
