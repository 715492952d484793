/**
 * The Java client of lockbroker, a service that hands out named locks. Begin with {@link
 * io.github.lockbroker.LockBroker}.
 */
package io.github.lockbroker;
