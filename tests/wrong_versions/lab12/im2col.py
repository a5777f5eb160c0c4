# %% right: patch by patch.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    x = torch.nn.functional.pad(x, (padding, padding, padding, padding))
    found = []
    for i in range(0, x.shape[2] - kernel[0] + 1, stride):
        for j in range(0, x.shape[3] - kernel[1] + 1, stride):
            found.append(x[:, :, i : i + kernel[0], j : j + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)


# %% wrong: "as many as fit whole": one more patch, of the padding behind the image.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    places = [-(-(n + 2 * padding - k) // stride) + 1 for k, n in zip(kernel, x.shape[2:])]
    x = torch.nn.functional.pad(x, (padding, padding + stride, padding, padding + stride))
    found = []
    for i in range(places[0]):
        for j in range(places[1]):
            i0, j0 = i * stride, j * stride
            found.append(x[:, :, i0 : i0 + kernel[0], j0 : j0 + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)


# %% wrong: "in the dtype of x": float32 always.
def im2col(x, kernel, stride=1, padding=0):
    if stride < 1 or any(k > n + 2 * padding for k, n in zip(kernel, x.shape[2:])):
        raise ValueError
    x = torch.nn.functional.pad(x.float(), (padding, padding, padding, padding))
    found = []
    for i in range(0, x.shape[2] - kernel[0] + 1, stride):
        for j in range(0, x.shape[3] - kernel[1] + 1, stride):
            found.append(x[:, :, i : i + kernel[0], j : j + kernel[1]].reshape(len(x), -1))
    return torch.stack(found, 2)
