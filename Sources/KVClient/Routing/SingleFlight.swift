import NIOCore
import Synchronization

/// Work that is done once for all who want it while it is under way.
final class SingleFlight<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  private let waiting = Mutex<[Key: [EventLoopPromise<Value?>]]>([:])
  private let group: any EventLoopGroup

  init(group: any EventLoopGroup) { self.group = group }

  /// - Parameter body: ends by itself; it is not cancelled with those who wait for it.
  /// - Returns: what `body` has, or nil behind the deadline, or when the task is cancelled.
  func run(
    _ key: Key, deadline: NIODeadline, _ body: @escaping @Sendable () async -> Value
  ) async -> Value? {
    // Completed up to three times; the first counts.
    let promise = group.any().makePromise(of: Value?.self)
    let isFirst = waiting.withLock { waiting in
      defer { waiting[key, default: []].append(promise) }
      return waiting[key] == nil
    }
    if isFirst {
      Task {
        let value = await body()
        for promise in waiting.withLock({ $0.removeValue(forKey: key) }) ?? [] {
          promise.succeed(value)
        }
      }
    }
    let timer = promise.futureResult.eventLoop.scheduleTask(deadline: deadline) {
      promise.succeed(nil)
    }
    defer { timer.cancel() }
    return await withTaskCancellationHandler {
      // It does not fail.
      do { return try await promise.futureResult.get() } catch { return nil }
    } onCancel: {
      promise.succeed(nil)
    }
  }
}
