import Synchronization

/// Events that anybody adds, and that one task takes, one after the other.
final class Inbox<Event: Sendable>: Sendable {
  private struct State {
    var events: [Event] = []
    var waiting: CheckedContinuation<Event?, Never>?
    var isClosed = false
  }

  /// More than one task has on its hands: who adds one more is told so.
  private static var eventsMax: Int { 64 }

  private let state = Mutex(State())

  /// - Parameter isNeeded: taken however many there are: who adds it has no second one.
  /// - Returns: false when nobody will take it.
  @discardableResult
  func add(_ event: Event, isNeeded: Bool = false) -> Bool {
    var waiting: CheckedContinuation<Event?, Never>?
    let isTaken = state.withLock { state in
      guard !state.isClosed, isNeeded || state.events.count < Self.eventsMax else { return false }
      waiting = state.waiting
      state.waiting = nil
      if waiting == nil { state.events.append(event) }
      return true
    }
    waiting?.resume(returning: event)
    return isTaken
  }

  /// Waits for the next one; nil when there will be none.
  func next() async -> Event? {
    await withCheckedContinuation { continuation in
      var event: Event?
      let isThere = state.withLock { state in
        if !state.events.isEmpty {
          event = state.events.removeFirst()
          return true
        }
        if state.isClosed { return true }
        state.waiting = continuation
        return false
      }
      if isThere { continuation.resume(returning: event) }
    }
  }

  /// What is there may still be taken; nothing comes any more.
  func close() {
    let waiting = state.withLock { state in
      state.isClosed = true
      defer { state.waiting = nil }
      return state.waiting
    }
    waiting?.resume(returning: nil)
  }
}
