import Engine
import Logging
import NIOCore

/// A node's event loop for connections without sockets: the same lanes, in front of a store, on
/// channels that somebody else drives.
package struct LoopDriver {
  private let loop: LoopState

  /// - Parameters:
  ///   - configuration: where it says it listens, and its limits.
  ///   - eventLoop: the one of all channels, which also takes work from other threads.
  package init(_ configuration: Configuration, store: Store, eventLoop: any EventLoop) {
    let logger = Logger(label: "shiplog")
    let node = NodeState(
      configuration: configuration, address: configuration.address, store: store,
      metrics: ServerMetrics(logger: logger) { _ in }, logger: logger,
      // All on the one loop, which somebody steps through.
      feedReaders: FeedReaders(threadsMax: 0))
    loop = LoopState(eventLoop: eventLoop, node: node)
    loop.start()
  }

  /// Adds what a new connection begins with.
  package func configure(_ channel: any Channel, usesFastLane: Bool) throws {
    try Listener.configure(channel, loop: loop, usesFastLane: usesFastLane)
  }

  /// Lets every connection end as soon as nothing is in progress on it.
  package func drain() { loop.drain() }

  /// Ends the loop's clock.
  package func stop() { loop.stop() }

  /// Requests whose answers are being made on other threads.
  package var awaitedPages: Int { loop.pages.count }

  /// Connections that have not been closed.
  package var connectionCount: Int { loop.connectionCount }
}
