package io.github.lockbroker;

import io.github.lockbroker.internal.core.Moments;
import io.github.lockbroker.v1.GetLockResponse;
import io.github.lockbroker.v1.LockServiceGrpc;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NegotiationType;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.ChannelOption;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioSocketChannel;
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnixDomainSocketAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Makes one connection to a broker, by whichever of its addresses answers first. One that swallows
 * packets must not use up the time of the others.
 */
final class Dial {
  /** The time that an address may take before the next one is tried beside it. */
  private static final long NEXT_ADDRESS_MILLIS = 250;

  private final Network network;
  private final Endpoint endpoint;
  private final long within;

  /** The connection. Cancelling it gives up. */
  private final CompletableFuture<Connection> made = new CompletableFuture<>();

  private SslContext tls;
  private List<SocketAddress> addresses;

  /** One for each address that has been tried; those that lose are closed. */
  private final List<ManagedChannel> channels = new ArrayList<>();

  /** The number of them that have failed. */
  private int failed;

  /** Finds the addresses of a broker. It may wait. */
  interface Addresses {
    List<SocketAddress> find() throws UnknownHostException;
  }

  private Dial(Network network, Endpoint endpoint, long within) {
    this.network = network;
    this.endpoint = endpoint;
    this.within = within;
    made.whenComplete((connection, error) -> closeOthers(connection));
  }

  /**
   * Begins to connect, for no longer than within. The connection fails with a {@link
   * LockBrokerException}, or with a {@link StatusRuntimeException} that says what happened.
   */
  static CompletableFuture<Connection> begin(
      Network network, Endpoint endpoint, TlsFiles files, long within) {
    return begin(network, endpoint, files, () -> resolve(endpoint), within);
  }

  /** Begins to connect to addresses that others find. */
  static CompletableFuture<Connection> begin(
      Network network, Endpoint endpoint, TlsFiles files, Addresses addresses, long within) {
    Dial dial = new Dial(network, endpoint, within);
    network.dials.execute(() -> dial.prepare(files, addresses));
    return dial.made;
  }

  private void prepare(TlsFiles files, Addresses source) {
    try {
      tls = endpoint.isTls() ? files.read() : null;
      addresses = source.find();
      tryNext();
    } catch (UnknownHostException e) {
      fail(e, "there is no address of " + endpoint.host());
    } catch (RuntimeException e) {
      made.completeExceptionally(e);
    } catch (Throwable e) {
      // A version of gRPC that does not fit, say. Without this it would look like a silent broker.
      fail(e, "the client cannot connect");
    }
  }

  private static List<SocketAddress> resolve(Endpoint endpoint) throws UnknownHostException {
    if (endpoint.isUnix()) {
      return List.of(UnixDomainSocketAddress.of(endpoint.path()));
    }
    List<SocketAddress> found = new ArrayList<>();
    for (InetAddress address : InetAddress.getAllByName(endpoint.host())) {
      found.add(new InetSocketAddress(address, endpoint.port()));
    }
    return found;
  }

  private void fail(Throwable cause, String text) {
    made.completeExceptionally(
        Status.UNAVAILABLE.withDescription(text).withCause(cause).asRuntimeException());
  }

  /** Tries the next address, if there is one, and the one after it a while later. */
  private synchronized void tryNext() {
    if (channels.size() == addresses.size() || made.isDone()) {
      return;
    }
    ManagedChannel channel = open(addresses.get(channels.size()));
    channels.add(channel);
    watch(channel);
    if (channels.size() < addresses.size()) {
      int begun = channels.size();
      network.loop.schedule(() -> tryAfter(begun), NEXT_ADDRESS_MILLIS, TimeUnit.MILLISECONDS);
    }
  }

  private synchronized void tryAfter(int begun) {
    if (channels.size() == begun) {
      tryNext();
    }
  }

  /**
   * Makes a channel to one address. HTTP/2's keepalive stays off: it would close a stream that is
   * silent, and the broker takes a close for a release. There is no proxy, no name to resolve and
   * no retry.
   */
  private ManagedChannel open(SocketAddress address) {
    NettyChannelBuilder builder =
        NettyChannelBuilder.forAddress(address)
            .eventLoopGroup(network.loop)
            .channelType(endpoint.isUnix() ? NioDomainSocketChannel.class : NioSocketChannel.class)
            .withOption(
                ChannelOption.CONNECT_TIMEOUT_MILLIS,
                (int) Math.max(1, within / Moments.MILLISECOND))
            .overrideAuthority(endpoint.authority())
            .proxyDetector(target -> null)
            .disableServiceConfigLookUp()
            .disableRetry()
            .directExecutor();
    if (endpoint.isUnix()) {
      // gRPC sets it for all, and Netty warns of it.
      builder.withOption(ChannelOption.SO_KEEPALIVE, null);
    }
    if (tls == null) {
      builder.usePlaintext();
    } else {
      builder.negotiationType(NegotiationType.TLS).sslContext(tls);
    }
    return builder.build();
  }

  private void watch(ManagedChannel channel) {
    var state = channel.getState(true);
    switch (state) {
      case READY:
        // If another was first, this one is closed with the others.
        if (!made.complete(new Connection(channel))) {
          channel.shutdownNow();
        }
        break;
      case TRANSIENT_FAILURE:
        askWhy(channel);
        break;
      case SHUTDOWN:
        break;
      default:
        channel.notifyWhenStateChanged(state, () -> watch(channel));
        break;
    }
  }

  /** Asks a channel that has no connection for the reason: it tells that only to calls. */
  private void askWhy(ManagedChannel channel) {
    ClientCall<?, GetLockResponse> call =
        channel.newCall(LockServiceGrpc.getGetLockMethod(), CallOptions.DEFAULT);
    call.start(
        new ClientCall.Listener<GetLockResponse>() {
          @Override
          public void onClose(Status status, Metadata trailers) {
            failed(status.asRuntimeException(trailers));
          }
        },
        new Metadata());
  }

  private synchronized void failed(StatusRuntimeException error) {
    failed++;
    if (failed == addresses.size()) {
      made.completeExceptionally(error);
    } else {
      tryNext();
    }
  }

  private synchronized void closeOthers(Connection made) {
    for (ManagedChannel channel : channels) {
      if (made == null || channel != made.channel()) {
        channel.shutdownNow();
      }
    }
  }
}
