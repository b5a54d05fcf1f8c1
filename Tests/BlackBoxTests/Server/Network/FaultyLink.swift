import Foundation
import Synchronization

/// The network between two nodes: a TCP proxy whose faults are set while it runs.
///
/// One thread relays all connections. With the last reference, or with `close`, it has ended, and
/// no socket is left.
final class FaultyLink: Sendable {
  /// Where it listens.
  let address: LoopbackAddress
  private let relay: LinkRelay
  private let thread: Mutex<pthread_t?>

  init(to target: LoopbackAddress) throws {
    address = LoopbackAddress.fresh()
    relay = try LinkRelay(from: address, to: target)
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { context in
        Unmanaged<LinkRelay>.fromOpaque(context!).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(relay).toOpaque())
    guard code == 0 else { throw POSIXError(.init(rawValue: code) ?? .EAGAIN) }
    self.thread = Mutex(thread)
  }

  deinit { close() }

  /// Ends all connections, and waits until the thread has ended.
  func close() {
    thread.withLock { thread in
      guard let running = thread else { return }
      relay.control.withLock { $0.isStopped = true }
      pthread_join(running, nil)
      thread = nil
    }
  }

  // MARK: - Faults

  func set(_ direction: LinkDirection, _ change: (inout LinkFaults) -> Void) {
    relay.control.withLock { change(&$0.faults[direction.rawValue]) }
  }

  func setBoth(_ change: (inout LinkFaults) -> Void) {
    for direction in LinkDirection.allCases { set(direction, change) }
  }

  /// Ends every connection that there is.
  func dropAll() { relay.control.withLock { $0.dropsAll = true } }

  func refuseConnections(_ refuses: Bool) {
    relay.control.withLock { $0.refusesConnections = refuses }
  }

  func heal() {
    setBoth { $0.heal() }
    refuseConnections(false)
  }

  // MARK: - What has happened

  func faults(_ direction: LinkDirection) -> LinkFaults {
    relay.control.withLock { $0.faults[direction.rawValue] }
  }

  /// Connections that were taken, and that there are.
  var connections: (taken: Int, open: Int) {
    relay.control.withLock { ($0.connectionsTaken, $0.connectionsOpen) }
  }

  /// Waits until something holds.
  func wait(
    _ what: String, seconds: Int = 30, until holds: @escaping @Sendable (FaultyLink) -> Bool
  ) async throws {
    try await Threads.runOne {
      let deadline = ContinuousClock.now + .seconds(seconds)
      while !holds(self) {
        guard ContinuousClock.now < deadline else {
          throw ReplicaSet.NotInTime(description: "the link to \(self.address): \(what)")
        }
        Thread.sleep(forTimeInterval: 0.002)
      }
    }
  }
}
