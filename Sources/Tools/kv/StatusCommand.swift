import ArgumentParser
import Client

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Prints how the nodes of a shard are, or one node: its role, log, keys and replicas.",
    discussion: """
      Where the node has a leader or replicas, each of them is asked, and has a row; one that does not \
      answer within --timeout, too. Otherwise, and with --node, all is told that the node says of itself.
      """,
    version: Version.current)

  @Flag(help: "Only the node that is asked.")
  var node = false

  @OptionGroup var options: ClientOptions

  func run() async throws {
    let body = try await options.ask { client throws(KVClientError) in try await client.status() }
    let status = Self.decoded(body)
    if !node, let status, let survey = await survey(status) {
      let table = ShardTable(survey: survey)
      return options.json
        ? try Output.writeLine(table.json)
        : try Output.write(table.text(hasColors: Output.hasColors).utf8)
    }
    if options.json {
      try Output.write(body)
      if body.last != UInt8(ascii: "\n") { try Output.writeLine("") }
      return
    }
    guard let status else {
      throw Output.failure(
        "\(options.address): the status is not JSON: is this a node of Shiplog?")
    }
    try Output.write(StatusSummary(hasColors: Output.hasColors).text(status).utf8)
  }

  private func survey(_ status: JSONValue) async -> ShardSurvey? {
    let timeout = options.timeout
    return await ShardSurvey.take(options.address, status) { address in
      do throws(KVClientError) {
        let body = try await NodeClient.with(address, timeout: .seconds(timeout)) {
          (client) throws(KVClientError) in try await client.status()
        }
        guard let status = Self.decoded(body) else {
          return .failure(.unexpectedAnswer(address, "the status is not JSON"))
        }
        return .success(status)
      } catch {
        return .failure(error)
      }
    }
  }

  /// Nil when it is not JSON.
  private static func decoded(_ body: [UInt8]) -> JSONValue? {
    do {
      return try JSONDecoder().decode(JSONValue.self, from: Data(body))
    } catch {
      return nil
    }
  }
}
