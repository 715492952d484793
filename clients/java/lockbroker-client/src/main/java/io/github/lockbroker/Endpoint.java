package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.ArrayList;
import java.util.List;

/**
 * Where a broker listens.
 *
 * @param name the endpoint as given, for people
 * @param path the path of a Unix socket; null for TCP
 * @param isTls says to speak TLS
 */
record Endpoint(String name, String path, String host, int port, boolean isTls) {

  /** Reads endpoints with commas between them. */
  static List<Endpoint> parseAll(String text, TlsFiles files) {
    List<Endpoint> endpoints = new ArrayList<>();
    for (String part : text.split(",", -1)) {
      Endpoint endpoint = parse(part.strip());
      if (!files.isEmpty() && !endpoint.isUnix() && !endpoint.name.contains("://")) {
        // Plain text would be a surprise: the files say that TLS is meant.
        String name = endpoint.name;
        String why = "with certificates it has to say if it speaks TLS: ";
        throw none(name, why + "https://" + name + " or http://" + name);
      }
      endpoints.add(endpoint);
    }
    return endpoints;
  }

  private static Endpoint parse(String text) {
    if (text.startsWith("unix:")) {
      String path = text.substring(text.startsWith("unix://") ? 7 : 5);
      if (path.isEmpty()) {
        throw none(text, "there is no path");
      }
      return new Endpoint(text, path, "localhost", 0, false);
    }
    boolean hasScheme = text.contains("://");
    URI uri;
    try {
      uri = new URI(hasScheme ? text : "http://" + text);
    } catch (URISyntaxException e) {
      boolean isEmpty = text.replaceFirst("^.*://", "").isEmpty();
      throw none(text, isEmpty ? "there is no host" : e.getReason());
    }
    String scheme = uri.getScheme();
    boolean isTls = scheme.equals("https");
    if (!isTls && !scheme.equals("http")) {
      throw none(text, "there is no scheme " + scheme + "://");
    }
    if (uri.getRawUserInfo() != null) {
      String why = "there is a user in it; a broker knows clients by their certificates";
      throw none(text, why);
    }
    if (uri.getHost() == null) {
      throw none(text, noHost(uri.getRawAuthority()));
    }
    boolean hasMore = !uri.getRawPath().replace("/", "").isEmpty();
    if (hasMore || uri.getRawQuery() != null || uri.getRawFragment() != null) {
      throw none(text, "there is something after the port");
    }
    int port = uri.getPort();
    if (port > 65535) {
      throw none(text, "there is no port " + port);
    }
    if (port < 0) {
      // A URL has the port of its scheme; a host alone is a port forgotten.
      if (!hasScheme) {
        throw none(text, "there is no port");
      }
      port = isTls ? 443 : 80;
    }
    return new Endpoint(text, null, uri.getHost().replaceAll("[\\[\\]]", ""), port, isTls);
  }

  /** Says why an authority has no host: Java's URI does not tell. */
  private static String noHost(String authority) {
    int colon = authority == null ? -1 : authority.lastIndexOf(':');
    if (authority == null || colon == 0) {
      return "there is no host";
    }
    boolean badPort = colon > 0 && !authority.substring(colon + 1).matches("\\d*");
    return badPort
        ? "invalid port " + authority.substring(colon + 1)
        : "\"" + authority + "\" is no host with a port";
  }

  boolean isUnix() {
    return path != null;
  }

  /** What requests name as the server, and what the broker's certificate has to be for. */
  String authority() {
    if (isUnix()) {
      return "localhost";
    }
    return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
  }

  private static LockBrokerException none(String text, String why) {
    String help = "; write http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH";
    return new LockBrokerException(Kind.ENDPOINT, "", "\"" + text + "\": " + why + help);
  }
}
