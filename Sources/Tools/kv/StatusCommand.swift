import ArgumentParser
import Client

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Prints how a node is: its role, log, keys and replicas.",
    version: Version.current)

  @OptionGroup var options: ClientOptions

  func run() async throws {
    let body = try await options.ask { client throws(KVClientError) in try await client.status() }
    if options.json {
      try Output.write(body)
      if body.last != UInt8(ascii: "\n") { try Output.writeLine("") }
      return
    }
    let status: JSONValue
    do {
      status = try JSONDecoder().decode(JSONValue.self, from: Data(body))
    } catch {
      throw Output.failure(
        "\(options.address): the status is not JSON: is this a node of Shiplog?")
    }
    try Output.write(StatusSummary(hasColors: Output.hasColors).text(status).utf8)
  }
}
