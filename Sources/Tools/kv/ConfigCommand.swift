import ArgumentParser
import Sharding

/// Commands about the configuration of a cluster.
struct ConfigCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Checks and compares configurations, and gives them to nodes.",
    version: Version.current,
    subcommands: [Check.self, Diff.self, ConfigShowCommand.self, ConfigPushCommand.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Says what a configuration holds, or what is wrong with it.",
      discussion: "Exit code 1 with the file and the field that is wrong.",
      version: Version.current)

    @Argument(help: ArgumentHelp("The configuration.", valueName: "sharding.json"))
    var file: String

    func run() throws {
      try Output.write(ShardMapText.summary(try ConfigurationFile.read(file)).utf8)
    }
  }

  struct Diff: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Says which keys would move, and which nodes would be others.",
      discussion: "A shard is the same in both when it has the same name.",
      version: Version.current)

    @Argument(help: "The configuration as it is.")
    var old: String

    @Argument(help: "The one in its place.")
    var new: String

    func run() throws {
      let (old, new) = (try ConfigurationFile.read(old), try ConfigurationFile.read(new))
      try Output.write(ShardMapText.difference(old, new).utf8)
    }
  }
}
