package io.github.lockbroker;

import io.github.lockbroker.LockBrokerException.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The place where a broker listens.
 *
 * @param name the endpoint as given, for people
 * @param path the path of a Unix socket; null for TCP
 * @param isTls says to speak TLS
 */
record Endpoint(String name, String path, String host, int port, boolean isTls) {
  /** A host, or an address of IPv6 in brackets, with what follows. Java's URI takes no "_". */
  private static final Pattern AUTHORITY =
      Pattern.compile(
          "(?<host>\\[[0-9a-fA-F:.]+]|[^:/?#\\[\\]\\s]*)(:(?<port>[^/?#]*))?/*(?<more>.*)");

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
    if (text.regionMatches(true, 0, "unix:", 0, 5)) {
      boolean hasHost = text.startsWith("//", 5);
      String path = text.substring(hasHost ? 7 : 5);
      if (path.replace("/", "").isEmpty()) {
        throw none(text, "there is no path");
      }
      if (hasHost && !path.startsWith("/")) {
        throw none(text, "there is a host before the path");
      }
      return new Endpoint(text, path, "localhost", 0, false);
    }
    boolean hasScheme = text.contains("://");
    String scheme = hasScheme ? text.substring(0, text.indexOf("://")) : "http";
    String rest = hasScheme ? text.substring(scheme.length() + 3) : text;
    boolean isTls = scheme.equalsIgnoreCase("https");
    if (!isTls && !scheme.equalsIgnoreCase("http")) {
      throw none(text, "there is no scheme " + scheme + "://");
    }
    if (rest.contains("@")) {
      String why = "there is a user in it; a broker knows clients by their certificates";
      throw none(text, why);
    }
    Matcher parts = AUTHORITY.matcher(rest);
    if (!parts.matches() || parts.group("host").isEmpty()) {
      throw none(text, parts.matches() ? "there is no host" : "that is no host with a port");
    }
    if (!parts.group("more").isEmpty()) {
      throw none(text, "there is something after the port");
    }
    String host = parts.group("host").replaceAll("[\\[\\]]", "");
    return new Endpoint(text, null, host, port(text, parts.group("port"), hasScheme, isTls), isTls);
  }

  private static int port(String text, String port, boolean hasScheme, boolean isTls) {
    if (port == null) {
      // A URL has the port of its scheme; a host alone is a port forgotten.
      if (!hasScheme) {
        throw none(text, "there is no port");
      }
      return isTls ? 443 : 80;
    }
    int number = port.matches("[0-9]{1,5}") ? Integer.parseInt(port) : 0;
    if (number < 1 || number > 65535) {
      throw none(text, "the port is no number from 1 to 65535");
    }
    return number;
  }

  boolean isUnix() {
    return path != null;
  }

  /** Returns the server that requests name, and that the broker's certificate has to be for. */
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
