"""A picture as structure + texture, by frequency, by total variation or by both; and its enhancement by the texture."""

from tavtorch.image.splitting.enhance import enhance as enhance
from tavtorch.image.splitting.enhance import median as median
from tavtorch.image.splitting.enhance import shrink as shrink
from tavtorch.image.splitting.hilbert import gabor as gabor
from tavtorch.image.splitting.hilbert import sobolev as sobolev
from tavtorch.image.splitting.hilbert import split_hilbert as split_hilbert
from tavtorch.image.splitting.l1 import split_l1 as split_l1
from tavtorch.image.splitting.meyer import split_meyer as split_meyer
from tavtorch.image.splitting.split import Split as Split
from tavtorch.image.splitting.split import correlation as correlation
from tavtorch.image.splitting.split import least_correlated as least_correlated
from tavtorch.image.splitting.split import split_fourier as split_fourier
from tavtorch.image.splitting.split import split_rof as split_rof
