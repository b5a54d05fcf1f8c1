import ArgumentParser
import Client
import Server

/// Whose log a replica follows, where that is not its leader's.
struct FollowOption: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Follow that node's log: another replica's. Without --config-file, be a replica of it. "
        + "(default: the leader's)", valueName: "host:port"))
  var follow: String?

  /// - Parameter isConfigured: whether a configuration says what the node is.
  func apply(to configuration: inout Configuration, isConfigured: Bool) throws {
    guard let follow else { return }
    let followed: NodeAddress
    do {
      followed = try NodeAddress(parsing: follow)
    } catch {
      throw ValidationError("--follow: \(error)")
    }
    guard "\(followed)" != configuration.address else {
      throw ValidationError("--follow: \(followed) is this node")
    }
    if !isConfigured {
      configuration.role = .replica
      configuration.leaderAddress = "\(followed)"
    }
    guard configuration.role == .replica else {
      throw ValidationError(
        "--follow: \(configuration.address) leads its shard, and follows nobody")
    }
    configuration.followedAddress = "\(followed)"
  }
}
