import ArgumentParser

@main
struct KV: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "kv", abstract: "A key-value server whose database is its log.",
    discussion: """
      Exit codes of all commands: 0 done, 1 an error said in one line on stderr, 64 usage.
      """,
    version: Version.current,
    subcommands: [
      ServeCommand.self, ClusterCommand.self, GetCommand.self, SetCommand.self, DeleteCommand.self,
      StatusCommand.self, SnapshotCommand.self, PromoteCommand.self, RepairCommand.self,
      DivergedCommand.self, BackupCommand.self, BenchCommand.self, ConfigCommand.self,
    ])
}
