import Client
import Synchronization

/// Of each key of a leaderless set what its acknowledged writes were told to have seen, merged: a number for
/// each origin, of which there are few.
final class ContextBoard: Sendable {
  /// Threads rarely meet at one of so many locks.
  private static let stripeCount: UInt64 = 64

  private final class Stripe: Sendable {
    let contexts = Mutex<[UInt64: KVContext]>([:])
  }

  private let stripes = (0..<stripeCount).map { _ in Stripe() }

  private func stripe(_ key: UInt64) -> Stripe { stripes[Int(key % Self.stripeCount)] }

  func acknowledged(_ key: UInt64, _ context: KVContext) {
    stripe(key).contexts.withLock { $0[key, default: KVContext()].merge(context) }
  }

  /// Everything that was acknowledged by now.
  func context(of key: UInt64) -> KVContext {
    stripe(key).contexts.withLock { $0[key] } ?? KVContext()
  }
}
