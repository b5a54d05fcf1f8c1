import ArgumentParser
import KVClient

/// What every command has that asks a node.
struct ClientOptions: ParsableArguments {
  @Option(
    name: [.customLong("http-addr"), .customLong("http-address")],
    help: ArgumentHelp("Any node. (default: 127.0.0.1:8080)", valueName: "host:port"),
    transform: { text in
      do throws(KVClientError) {
        return try NodeAddress(parsing: text)
      } catch {
        throw ValidationError(error.description)
      }
    })
  var address = NodeAddress(host: "127.0.0.1", port: 8080)

  @Option(help: ArgumentHelp("How long to wait for the answer.", valueName: "seconds"))
  var timeout = 5.0

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    guard timeout > 0, timeout <= 86_400 else {
      throw ValidationError("--timeout must be above 0 and at most 86400 seconds")
    }
    guard ArgumentBytes.areText else {
      // Swift would put other bytes in their place, and another key would be read or written.
      throw ValidationError("an argument is not UTF-8. A value can be given on standard input: -")
    }
  }

  /// Asks the node, and whichever other one it takes. An error is said, and ends the command.
  ///
  /// The request goes to the node as it is: it hands on what is another's, so one exchange is mostly all it takes.
  /// Only when it answers that another one is to be asked is the configuration read, and the leader looked for.
  func askCluster<R>(
    _ body: (KVClient) async throws(KVClientError) -> R
  ) async throws -> R {
    var use = KVClientOptions()
    use.configuration = .whenNeeded
    use.retries = false
    use.timeout = .seconds(timeout)
    use.limits.connectTimeout = nil
    do throws(KVClientError) {
      return try await KVClient.with(seeds: [address], options: use, body)
    } catch {
      throw Output.failure(error.description)
    }
  }

  /// Asks the node. An error is said, and ends the command.
  ///
  /// - Parameter timeoutSeconds: in place of `timeout`.
  func ask<R>(
    timeoutSeconds: Double? = nil, _ body: (NodeClient) async throws(KVClientError) -> R
  ) async throws -> R {
    do throws(KVClientError) {
      return try await NodeClient.with(address, timeout: .seconds(timeoutSeconds ?? timeout), body)
    } catch {
      throw Output.failure(error.description)
    }
  }
}

/// The arguments as they were given.
private enum ArgumentBytes {
  static var areText: Bool {
    (0..<Int(CommandLine.argc)).allSatisfy { index in
      CommandLine.unsafeArgv[index].map { String(validatingCString: $0) != nil } ?? true
    }
  }
}
