import Client
import Engine
import Logging
import NIOCore
import NIOPosix

/// A follower of a store that no node serves.
package struct FollowerDriver {
  private let follower: LogFollower

  /// - Parameters:
  ///   - leader: whose log is followed.
  ///   - configuration: what this side is called.
  ///   - store: a copy.
  package init(of leader: NodeAddress, _ configuration: Configuration, store: Store) {
    let logger = Logger(label: "shiplog")
    let node = NodeState(
      configuration: configuration, address: configuration.address, store: store,
      metrics: ServerMetrics(logger: logger) { _ in }, logger: logger)
    follower = LogFollower(
      leader, id: configuration.address, node: node,
      loop: MultiThreadedEventLoopGroup.singleton.next(),
      promised: nil
    ) { _ in }
  }

  package func start() { follower.start() }

  /// Of frames that have come and are not applied, as it said last.
  package var pendingBytes: Int { follower.report.pendingBytes }

  /// Its log has been told that there are frames, and has not come for them.
  package var isOffering: Bool { follower.isOffering }

  /// - Returns: when what its log had taken is applied.
  package func stop() -> EventLoopFuture<Void> { follower.stop() }
}
