/** A lock provider for ShedLock. */
package io.github.lockbroker.shedlock;
