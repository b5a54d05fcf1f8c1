import NIOCore

/// Requests of one event loop for pages: those that wait until the keys can be listed, and how many
/// are in progress at all.
struct PageQueue {
  /// A request that waits.
  final class Waiter {
    let request: PageRequest
    let lane: StandardLane
    var timeout: Scheduled<Void>?

    init(_ request: PageRequest, _ lane: StandardLane) {
      self.request = request
      self.lane = lane
    }
  }

  /// Requests that wait or are being answered, at most.
  static let requestsMax = 1_024

  var waiting: [Waiter] = []
  /// Pages that are being made, off the loop.
  var making = 0
  /// The directory tells this loop when it is built.
  var isListening = false

  var count: Int { waiting.count + making }
}
