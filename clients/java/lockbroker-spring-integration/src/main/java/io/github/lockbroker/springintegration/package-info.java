/** A lock registry for Spring Integration. */
package io.github.lockbroker.springintegration;
