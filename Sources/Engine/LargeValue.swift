import Synchronization

/// A value that is too large to be copied under a stripe's lock. Counted by reference: a reader takes
/// one under the lock and copies at leisure, while the key may get another value.
///
/// `@unchecked Sendable`: the bytes do not change between `init` and `deinit`.
public final class LargeValue: @unchecked Sendable {
  public let bytes: UnsafeRawBufferPointer
  /// Who is sending it now.
  package let senders = Atomic(0)

  init(copying value: UnsafeRawBufferPointer) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: value.count, alignment: 16)
    copy.copyMemory(from: value)
    bytes = UnsafeRawBufferPointer(copy)
  }

  deinit {
    bytes.deallocate()
  }
}
