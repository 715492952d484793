/** A broker for tests, in the test's own process. */
package io.github.lockbroker.testing;
