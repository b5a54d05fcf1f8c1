import ArgumentParser
import Client
import Terminal

struct SnapshotCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot",
    abstract:
      "Has a node write a snapshot of everything that it has acknowledged, and waits for it.",
    version: Version.current)

  @OptionGroup var options: ClientOptions

  func run() async throws {
    let made = try await NodeSnapshots(options, replica: nil).make()
    if options.json { return try Output.writeLine(made.json) }
    try Output.writeLine(
      "sequence number \(made.sequence): \(made.keys) key\(made.keys == 1 ? "" : "s"), "
        + "\(made.bytes) bytes")
  }
}
